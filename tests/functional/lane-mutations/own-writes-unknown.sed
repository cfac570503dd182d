# fastlane.c: the driver's own changes break its lease
# case: discard
/^static bool vhd_lane_lm_owns(/,/^}/ s/return found;/return false;/
