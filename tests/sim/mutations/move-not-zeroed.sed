# move.c: holes are not copied, and the new slot is not zeroed before
/^static int vhd_move_zero(/,/^}/ s/if (!m->dirty)/if (1)/
