# space.c: a slot that was given back is handed out as it is
/^static int vhd_prepare_slot(/,/^}/ s/vhd_slot_bytes(p->img), NULL/kind == VHD_IO_ZERO ? 0 : vhd_slot_bytes(p->img), NULL/
