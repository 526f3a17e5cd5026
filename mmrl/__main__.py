"""`python -m mmrl`: the command line where the script `mmrl` is not on the path."""

if __name__ == "__main__":
    from mmrl.recipe.working_folder import leave_path

    leave_path()
    from mmrl.cli import main

    raise SystemExit(main())
