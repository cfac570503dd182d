# fastlane.c: the map is kept when the leases are given up
# case: blocks_taken_away
/^static void vhd_lane_give_up(/,/^}/ s/^\tvhd_lane_replace(lane, NULL);$//
