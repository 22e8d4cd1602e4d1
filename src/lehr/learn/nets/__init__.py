"""Networks, one file each: backbones (see backbones.py), what stands on them, and the small 32 x 32 one."""
