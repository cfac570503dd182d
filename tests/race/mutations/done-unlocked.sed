# map.c: the end of a request changes records without the lock
/^bool vhd_map_done(/,/^}/ { /spin_/d }
/^bool vhd_map_done(/,/^}/ s/^\tunsigned long flags;$//
