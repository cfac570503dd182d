# fastlane.c: the leases are given up before those inside have left
# case: slow_writes_waited_for
/^static void vhd_lane_give_up(/,/^}/ s/^\tvhd_lane_drain(lane);$/\tvhd_lane_drop_leases(lane);\n&/
