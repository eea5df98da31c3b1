"""Image values as the OCI image spec defines them. Pure: nothing here touches a disk or a network."""
