"""Films into frames: the right frame for every second, whatever state the file is in."""
