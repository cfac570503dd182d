# map.c: a bitmap that came with the data counts as durable
s/^\t\tnb->mark = VHD_SLOT_MARKED;$/\t\tnb->mark = VHD_SLOT_FRESH;/
