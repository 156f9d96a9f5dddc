"""Where rows come from: files, folders, standard input, functions, the Hub."""
