# Limits of core/image.h that no program of the simulator would meet.
s/^#define VHD_NR_NEW\t.*/#define VHD_NR_NEW\t\t5U/
s/^#define VHD_MAX_DIRTY_BITMAPS\t.*/#define VHD_MAX_DIRTY_BITMAPS\t2U/
s/^#define VHD_MAX_BITMAPS\t.*/#define VHD_MAX_BITMAPS\t\t2U/
s/^#define VHD_NR_READY\t.*/#define VHD_NR_READY\t\t2U/
s/^#define VHD_NR_UNMAPS\t.*/#define VHD_NR_UNMAPS\t\t3U/
