# unmap.c: punching forgets the last slot of a batch
/^static int vhd_punch_next(/,/^}/ s/vhd_punch_end(p) - pos, NULL/vhd_punch_end(p) - vhd_slot_bytes(p->img) - pos, NULL/
