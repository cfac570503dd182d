# fastlane.c: the former map of a lane is kept
/^static void vhd_lane_replace(/,/^}/ s/^\t\tkvfree_rcu(old, rcu);$/\t\t;/
