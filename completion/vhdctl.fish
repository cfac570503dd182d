# SPDX-License-Identifier: GPL-2.0-or-later
#
# fish completion for vhdctl. Commands, options and their values are those that
# "vhdctl --help" and "vhdctl COMMAND --help" tell.

# A line for each: LETTER NAME VALUE DESCRIPTION, with tabs between, "." for what is not there
function __vhdctl_table
    vhdctl $argv --help 2>/dev/null | awk '
    /^ (-[A-Za-z],|   ) --/ {
        letter = /^ -/ ? substr($0, 2, 2) : "."
        sub(/^ +(-[A-Za-z], )?/, "")
        name = rest = $0
        sub(/[^-a-z0-9].*/, "", name)
        rest = substr(rest, length(name) + 1)
        value = rest ~ /^(\[?=| [^ ])/ ? rest : "."
        sub(/^(\[?=| )/, "", value)
        sub(/[] ].*/, "", value)
        if (value != ".") sub(/^(\[?=| )[^ ]*/, "", rest)
        sub(/^ +/, "", rest)
        print letter "\t" name "\t" value "\t" rest
    }'
end

function __vhdctl_commands
    vhdctl --help 2>/dev/null | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { name = $1; $1 = ""; print name "\t" substr($0, 2) }'
end

function __vhdctl_command
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; or echo $word; and return
    end
end

# __vhdctl_value VALUE PREFIX: what may stand for VALUE
function __vhdctl_value
    switch $argv[1]
        case '*COLUMNS'
            # Of a list, the last word
            set -l before (string replace -r '[^,]*$' '' -- (string replace -- "$argv[2]" '' (commandline -ct)))
            vhdctl list --list-columns 2>/dev/null | awk -v before="$argv[2]$before" '{ name = $1; $1 = ""; print before name "\t" substr($0, 2) }'
        case FILE IMAGE DIR
            __fish_complete_path
        case '*|*'
            string split '|' $argv[1] | string replace -r '^' -- $argv[2]
    end
end

function __vhdctl_complete
    set -l command (__vhdctl_command)
    set -l current (commandline -ct)
    set -l before (commandline -opc)[-1]
    set -l tab \t
    for row in (__vhdctl_table $command)
        set -l field (string split -- $tab $row)
        if string match -q -- "$field[2]=*" $current
            __vhdctl_value $field[3] "$field[2]="
            return
        else if test $field[3] != .; and contains -- $before $field[1..2]
            __vhdctl_value $field[3] ''
            return
        end
    end
    if string match -q -- '-*' $current
        for row in (__vhdctl_table $command)
            set -l field (string split -- $tab $row)
            test $field[1] = .; or echo $field[1]$tab$field[4]
            echo $field[2]$tab$field[4]
        end
    else if test -z "$command"
        __vhdctl_commands
    else
        set -l usage (vhdctl $command --help 2>/dev/null | sed -n '/^$/q; s/^\(Usage:\)\? *vhdctl [a-z]* *//p' | string collect)
        string match -q '*DEV*' -- $usage; and vhdctl list --noheadings --raw --output NAME 2>/dev/null
        string match -q -r '^[a-z]+(\|[a-z]+)+' -- $usage; and string match -r '^[a-z|]+' -- $usage | string split '|'
        __fish_complete_path $current
    end
end

complete -c vhdctl -f -a '(__vhdctl_complete)'
