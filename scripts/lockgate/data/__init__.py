"""Data: records are made or read, accepted, looked at, and become rows in splits.

- `records`, `existing`: files that people have.
- `endpoints`: the language model that writes.
- `generation`: a shard's job. `samples`: the preview's. `assembly`: shards to splits; `card`.
- `projection`: rows of records. `splits`, `similar`: which rows stay together.
"""
