"""Names of the files of a result."""

RECORD = "record.json"
TENSORS = "tensors.safetensors"
PICTURE = "gallery.png"
