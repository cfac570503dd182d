# map.c: half a block is taken for a whole one
/^static bool vhd_map_whole(/,/^}/ s/sectors >= min_t/2 * sectors >= min_t/
