"""How are values and errors shown: as text, as tables, as JSON? Pure: values in, text out."""
