# fastlane.c: what the driver itself frees stays in the map
# case: discard
/^void vhd_lane_own_begin(/,/^}/ s/shut = own->moves && /shut = false \&\& /
