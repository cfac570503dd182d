# bitmap.c: whatever lies in the 4 KiB before a block's data is taken for nobody's
s/ || data - VHD_ALIGN < img->space.pad_from)/)/
