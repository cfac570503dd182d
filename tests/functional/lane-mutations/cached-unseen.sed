# fastlane.c: nobody looks whether the file has pages cached
# case: others_write
/^static bool vhd_lane_cached(/,/^}/ s/return unlikely(/return false \&\& unlikely(/
