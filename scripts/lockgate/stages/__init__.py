"""Chains of catalog steps: found, checked, built, validated and run."""
