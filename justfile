# One-line wrappers of the Invoke tasks, for hands that know just. `just` lists them.
set positional-arguments

export PATH := justfile_directory() / ".venv/bin:" + env_var("PATH")

_default:
    @just --list

# Prepare this machine
[group('loop')]
dev-setup *args:
    @scripts/dev-setup.sh "$@"

# Bring everything up: cluster, stages, image, service
[group('loop')]
dev-up *args:
    @invoke dev-up "$@"

# Watch: every save is built, swapped in and proven fresh
[group('loop')]
dev-watch *args:
    @invoke dev-watch "$@"

# Build what changed and swap it in
[group('loop')]
dev-rebuild *args:
    @invoke dev-rebuild "$@"

# Show what runs, what is stale, what answers
[group('loop')]
dev-status *args:
    @invoke dev-status "$@"

# Show the lines of workloads and stages
[group('loop')]
dev-logs *args:
    @invoke dev-logs "$@"

# Restart the pods and wait until they answer
[group('loop')]
dev-restart *args:
    @invoke dev-restart "$@"

# Stop the node; its state is kept
[group('loop')]
dev-stop *args:
    @invoke dev-stop "$@"

# Start a stopped node and wait for the service
[group('loop')]
dev-start *args:
    @invoke dev-start "$@"

# Delete cluster and data; caches and images stay
[group('loop')]
dev-down *args:
    @invoke dev-down "$@"

# Show all environments of this user, of every checkout
[group('loop')]
dev-list *args:
    @invoke dev-list "$@"

# Show what this machine has and what is missing
[group('loop')]
dev-doctor *args:
    @invoke dev-doctor "$@"

# Begin a project: write kindloop.yaml, tasks.py, manifests
[group('config')]
config-init *args:
    @invoke config.init "$@"

# Read kindloop.yaml and tell every mistake of it
[group('config')]
config-check *args:
    @invoke config.check "$@"

# Print the JSON Schema of kindloop.yaml, for editors
[group('config')]
config-schema *args:
    @invoke config.schema "$@"

# Show every setting and where its value comes from
[group('config')]
config-show *args:
    @invoke config.show "$@"

# Make the node image from packages; resumes
[group('bake')]
bake-node *args:
    @invoke bake.node "$@"

# Make the workload base image from packages
[group('bake')]
bake-base *args:
    @invoke bake.base "$@"

# Show the parts of the bake and what is left
[group('bake')]
bake-status *args:
    @invoke bake.status "$@"

# Write the baked images into one archive
[group('bake')]
bake-save *args:
    @invoke bake.save "$@"

# Load baked images from an archive
[group('bake')]
bake-load *args:
    @invoke bake.load "$@"

# Build every stage that is stale
[group('build')]
build *args:
    @invoke build "$@"

# Build the router library
[group('build')]
build-router *args:
    @invoke build.router "$@"

# Generate the pet store from openapi.yaml
[group('build')]
build-generate *args:
    @invoke build.generate "$@"

# Build the pet store
[group('build')]
build-petstore *args:
    @invoke build.petstore "$@"

# Build the supervisor, process 1 of swappable containers
[group('build')]
build-supervisor *args:
    @invoke build.supervisor "$@"

# Make the cluster be there and answer
[group('steps')]
cluster-ensure *args:
    @invoke cluster.ensure "$@"

# Show the cluster's state
[group('steps')]
cluster-status *args:
    @invoke cluster.status "$@"

# Delete the cluster and its data
[group('steps')]
cluster-delete *args:
    @invoke cluster.delete "$@"

# Build the workloads' images
[group('steps')]
image-build *args:
    @invoke image.build "$@"

# Load images into the node, or those of an archive
[group('steps')]
image-load *args:
    @invoke image.load "$@"

# Write images of this environment into one archive
[group('steps')]
image-save *args:
    @invoke image.save "$@"

# Remove our images beyond the newest two
[group('steps')]
image-prune *args:
    @invoke image.prune "$@"

# Show what an apply would change
[group('steps')]
k8s-diff *args:
    @invoke k8s.diff "$@"

# Apply the manifests and wait for the rollout
[group('steps')]
k8s-apply *args:
    @invoke k8s.apply "$@"

# Run kubectl on this environment
[group('steps')]
k8s-kubectl *args:
    @invoke k8s.kubectl -- "$@"

# Print where metrics, traces and dashboards are
[group('steps')]
observe-open *args:
    @invoke observe.open "$@"

# Swap in the newest artifact as it is
[group('steps')]
swap-push *args:
    @invoke swap.push "$@"

# Show which binary each pod runs
[group('steps')]
swap-status *args:
    @invoke swap.status "$@"

# Swap back to the binary before the present one
[group('steps')]
swap-rollback *args:
    @invoke swap.rollback "$@"

# Call every operation of the service with curl
[group('test')]
test-curl *args:
    @invoke test.curl "$@"

# Load the service with goose, on its release build
[group('test')]
test-load *args:
    @invoke test-load "$@"

# Run the proofs of this repository
[group('test')]
nox *args:
    @nox "$@"
