# map.c: over a parent, too, all bits are written with the first data
s/^\t       img->type == VHD_TYPE_DYNAMIC \&\& vhd_bitmap_pad(img, nb->sector);/\t       vhd_bitmap_pad(img, nb->sector);/
