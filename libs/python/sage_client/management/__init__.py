"""What operators see and change while the mesh runs, over the services' gRPC; REST and the command line share it."""
