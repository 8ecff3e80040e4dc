"""Who is calling, and may they? Pure: credentials in, a caller or a refusal out."""
