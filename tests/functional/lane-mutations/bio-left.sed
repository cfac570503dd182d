# fastlane.c: what leaves the lane unfinished takes the bio for what it holds
# case: errors_below
/^static void vhd_lane_end_io(/,/^}/ s/^\tvhd_lane_reset(cmd);$//
