"""The command line `ditkernels`: one file per command, each imported when it is called."""
