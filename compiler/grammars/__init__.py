"""The little languages of flow authors, one grammar each."""
