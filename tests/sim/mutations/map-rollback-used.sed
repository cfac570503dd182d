# map.c: an allocation is taken back while others write into the block
/^static bool vhd_map_done_new(/,/^}/ s/if (!nb->users && nb->state/if (nb->state/
