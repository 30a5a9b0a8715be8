package main

import (
	"log"
	"net/http"
	"os"
)

// Serves the files of a directory: fileServer DIRECTORY ADDRESS.
func main() {
	log.Fatal(http.ListenAndServe(os.Args[2], http.FileServer(http.Dir(os.Args[1]))))
}
