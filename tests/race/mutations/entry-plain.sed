# map.c: an entry is stored where others read it, and not marked so
s/WRITE_ONCE(img->bat\[block\], sector);/img->bat[block] = sector;/
