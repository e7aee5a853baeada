// cohaul-worker: the zoo's worker.

#include "cohaul/cli/worker_main.h"

int main(int argc, char** argv) { return cohaul::cli::worker_main(argc, argv); }
