# fastlane.c: what could not be done without waiting is taken for done
# case: errors_below
/^static void vhd_lane_end_io(/,/^}/ s/again = bio->bi_status != BLK_STS_OK;/again = bio->bi_status != BLK_STS_OK \&\& bio->bi_status != BLK_STS_AGAIN;/
