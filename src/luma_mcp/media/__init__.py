"""Input images and downloads: reads images from links, files and data: URIs, and saves finished videos."""
