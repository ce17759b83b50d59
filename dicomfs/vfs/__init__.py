"""What a file system is made of: files, directories, lazily made bytes of known size, built files, safe names."""
