"""What the user sees: folders, files, uploads, downloads and the trash."""
