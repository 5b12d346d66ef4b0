"""The commands of ``minires``, a file each."""
