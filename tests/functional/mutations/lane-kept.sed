# fastlane.c: a lane goes and its memory stays
/^void vhd_lane_destroy(/,/^}/ s/^\tkfree(lane);$//
