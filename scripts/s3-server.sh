#!/bin/sh
# Build versitygw, the S3 server of tests and benchmark, into a folder. usage: s3-server.sh FOLDER
set -eu
version=v1.8.0
if ! command -v go >/dev/null; then
    echo "Go is not installed: tests that need an S3 server are skipped."
    exit 0
fi
mkdir -p "$1"
GOBIN=$(cd "$1" && pwd) go install "github.com/versity/versitygw/cmd/versitygw@$version"
