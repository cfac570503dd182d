# fastlane.c: there is no delegation, and who opens the file for writing breaks nothing
# case: extents_swapped
/^static int vhd_lane_set_deleg(/,/^}/ s/vhd_lane_set_lease(lane, FL_DELEG, &lane->deleg)/0/
