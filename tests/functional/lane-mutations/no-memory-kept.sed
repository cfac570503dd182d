# fastlane.c: without memory for what is left of the map all of it is kept
# case: no_memory_for_the_map
/^static void vhd_lane_cut(/,/^}/ s/^\tvhd_lane_replace(lane, map);$/\tif (map)\n\t&/
