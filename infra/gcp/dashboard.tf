# A tile for each alert, with its thresholds, and next to them what explains it. Two tiles per row.
locals {
  alert_tiles = [
    for id, query in module.alerts.queries : {
      title = id
      query = query
      thresholds = [
        for name, rule in module.alerts.rules : { value = rule.threshold, label = rule.severity } if rule.alert == id
      ]
    }
  ]

  log_metric = "logging_googleapis_com:user_jobs"
  of_log     = "{monitored_resource=\"cloud_run_revision\"}"
  service    = "{monitored_resource=\"cloud_run_revision\", service_name=~\"${join("|", local.names)}\"}"

  explaining_tiles = [
    for title, query in {
      "Dispatches a second, by queue"         = "sum by (queue) (rate(${local.log_metric}_tasks_total${local.of_log}[5m]))"
      "Dispatches a second, by outcome"       = "sum by (outcome) (rate(${local.log_metric}_tasks_total${local.of_log}[5m]))"
      "p95 of the time in the queue, seconds" = "histogram_quantile(0.95, sum by (queue, le) (rate(${local.log_metric}_task_waited_ms_bucket${local.of_log}[30m]))) / 1000"
      "Answers to Cloud Tasks, by status"     = "sum by (response_code) (rate(cloudtasks_googleapis_com:queue_task_attempt_count[5m]))"
      "Instances"                             = "sum by (service_name) (run_googleapis_com:container_instance_count${local.service})"
      "Billed instance seconds a second"      = "sum by (service_name) (rate(run_googleapis_com:container_billable_instance_time${local.service}[5m]))"
      "Memory, p99 of the limit"              = "histogram_quantile(0.99, sum by (service_name, le) (rate(run_googleapis_com:container_memory_utilizations_bucket${local.service}[5m])))"
      "CPU, p99 of the limit"                 = "histogram_quantile(0.99, sum by (service_name, le) (rate(run_googleapis_com:container_cpu_utilizations_bucket${local.service}[5m])))"
      "Starts, p95 in milliseconds"           = "histogram_quantile(0.95, sum by (service_name, le) (rate(run_googleapis_com:container_startup_latencies_bucket${local.service}[30m])))"
    } : { title = title, query = query, thresholds = [] }
  ]

  tiles       = concat(local.alert_tiles, local.explaining_tiles)
  tile_width  = 24
  tile_height = 16
}

resource "google_monitoring_dashboard" "jobs" {
  project = var.project

  dashboard_json = jsonencode({
    displayName = "Background jobs"
    mosaicLayout = {
      columns = 2 * local.tile_width
      tiles = [
        for at, tile in local.tiles : {
          xPos   = (at % 2) * local.tile_width
          yPos   = floor(at / 2) * local.tile_height
          width  = local.tile_width
          height = local.tile_height
          widget = {
            title = tile.title
            xyChart = {
              dataSets = [{
                plotType        = "LINE"
                timeSeriesQuery = { prometheusQuery = tile.query }
              }]
              thresholds = tile.thresholds
            }
          }
        }
      ]
    }
  })

  depends_on = [google_project_service.api]
}
