"""Which files are pictures, by the ends of their names, and what reads those that are not read here."""

AXES = ("z", "t", "channel", "scene")  # what may be chosen, of all pictures or of each
PAGES = {"z": "Z", "t": "T", "channel": "C"}  # what pages without a name may be
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".jp2", ".avif")
TIFFS = (
    ".btf",
    ".tf2",
    ".tf8",
    ".lsm",
    ".stk",
    ".svs",
    ".ndpi",
    ".scn",
    ".qptiff",
    ".flex",
)  # under names of their own
MICROSCOPES = {".czi": "pylibCZIrw", ".nd2": "nd2", ".lif": "liffile"}  # read by libraries of the optional extra
READ = (*PICTURES, *TIFFS, *MICROSCOPES)
EXTRA = '`.venv/bin/uv pip install -e ".[microscopes]"`, in the folder of the project'
ELSEWHERE = {  # and what reads them
    **dict.fromkeys((".vsi", ".ets", ".zvi", ".xdce", ".mvd2", ".lei", ".oir"), "bioio-bioformats"),
    **dict.fromkeys((".oib", ".oif"), "oiffile"),
    **dict.fromkeys((".dv", ".r3d"), "bioio-dv"),
    **dict.fromkeys((".lof", ".xlif", ".xlef"), "liffile"),
    **dict.fromkeys((".mrc", ".rec", ".st", ".map"), "mrcfile"),
    **dict.fromkeys((".dm3", ".dm4", ".ser", ".emd", ".emi"), "rosettasciio"),
    **dict.fromkeys((".mrxs", ".vms", ".vmu"), "openslide-python"),
    ".zarr": "bioio-ome-zarr",
    ".sldy": "bioio-sldy",
    ".ims": "imaris-ims-file-reader",
    ".sif": "sif-parser",
    ".dcm": "pydicom",
    ".heic": "pillow-heif",
    ".bif": "openslide-python",
}
