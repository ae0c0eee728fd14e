"""The cache on a cluster, and both roles behind Sentinels."""
