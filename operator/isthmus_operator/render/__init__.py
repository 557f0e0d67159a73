"""From resources and facts to manifests. Pure: the same in, the same out."""
