# writeback.c: a flush is answered at once where no metadata is dirty; fast writes make none
/^void vhd_writeback_flush(/,/^}/ s/^\tvhd_writeback_wait(.*/\tif (!delayed_work_pending(\&vhd->wb.timer)) {\n\t\tvhd_cmd_end(cmd, 0);\n\t\treturn;\n\t}\n&/
