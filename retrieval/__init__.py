"""The library room: documents in, passages out."""
