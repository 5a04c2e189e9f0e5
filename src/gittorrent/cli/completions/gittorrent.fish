# Completion of gittorrent, git-torrent and git torrent, for fish.

function __gittorrent_ask
    set -l words (commandline -cp | string collect)
    set words (string replace --regex '^\s*git\s(.*?\s)?torrent\s' 'gittorrent ' -- $words)
    set -l word (commandline -ct)
    set -l response (env _GITTORRENT_COMPLETE=fish_complete COMP_WORDS=$words \
        COMP_CWORD="$word" gittorrent 2>/dev/null)
    for item in $response
        set -l parts (string split --max 1 , -- $item)
        switch $parts[1]
            case plain
                echo $parts[2]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
        end
    end
end

complete --no-files --command gittorrent --arguments '(__gittorrent_ask)'
complete --no-files --command git-torrent --arguments '(__gittorrent_ask)'

# Of itself git's own completion finds the file git-torrent.fish, but not in fish 3.6.0.
complete --no-files --command git --arguments '(__gittorrent_ask)' \
    --condition 'functions -q __fish_git_using_command; and __fish_git_using_command torrent'
