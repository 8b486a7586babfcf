"""`python -m perdure`: the command line, where the program itself is not on the path."""

from perdure.server.main import main

if __name__ == "__main__":
    main()
