"""The commands of ``minires``, one file each."""
