# io.c: requests take the lane while blocks are moved
# case: compacted
/^static bool vhd_take_lane(/,/^}/ s/vhd->gate || //
