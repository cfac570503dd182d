# fastlane.c: who comes when the lane is shut enters
# case: blocks_taken_away
/^static bool vhd_lane_enter(/,/^}/ s/!smp_load_acquire(&lane->shut)/true/
